"""A trial's folder on the node that trains it, and its transfer to the driver."""
