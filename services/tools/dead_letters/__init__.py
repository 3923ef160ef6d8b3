"""Dead letters from the command line: see, repair, send again."""
