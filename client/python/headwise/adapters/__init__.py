"""Scores within other people's pipelines: ray_data, datatrove, spark."""
