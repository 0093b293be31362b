"""Driving a party's rounds over a channel: in memory, or gRPC."""
