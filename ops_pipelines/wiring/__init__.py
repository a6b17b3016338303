"""Where engines are joined with adapters, for the command line and for Dagster alike. No Dagster here."""
