"""Tests of Rollcall."""
