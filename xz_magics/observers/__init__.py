"""What listens to runs beside their outcomes: the journal, metrics for others, alerts."""
