"""The size that is promised: two thousand segments, a million customers, two cores."""
