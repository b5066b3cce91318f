"""Published programs, rewritten from their descriptions, for comparison with ours."""
