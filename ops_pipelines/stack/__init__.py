"""What a user declares: models, loading, includes, problems with their place in the file."""
