"""The processes of Rollcall."""
