"""Everything that knows diffusers: block stacks, the clock, attaching, the bundled models."""
