"""Servicers: parse, call, convert."""
