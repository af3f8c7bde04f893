"""Popularity crossed with relations and answers, gradients of batches, and the page."""
