"""How the published codes did what is measured here, written anew from their description."""
