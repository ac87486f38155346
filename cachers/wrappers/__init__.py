"""Methods that change what another method does."""
