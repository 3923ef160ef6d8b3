"""How Rollcall is put on a machine; no product code imports anything from here."""
