"""The subresources of VMs and VMIs that virtctl uses, and CDI's upload tokens."""
