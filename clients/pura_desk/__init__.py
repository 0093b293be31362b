"""The desk: a page and an HTTP API on the client's own machine. Faces are embedded and encrypted here, as by
`pura_client`, and never leave it."""
