"""Host adapters: one module for each training loop that can be tracked."""
