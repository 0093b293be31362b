"""Between protobuf messages and Pura's own types."""
