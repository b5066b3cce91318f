"""The routes that people use today, written anew from their descriptions, for measurements side by
side."""
