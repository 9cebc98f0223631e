"""Distributions of datasets: how pictures and boxes spread over sizes, shapes, qualities and classes."""
