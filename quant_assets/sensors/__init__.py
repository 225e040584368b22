"""What watches for work. What belongs here: thin sensors over pure functions."""
