"""DataVolumes: a claim, a worker that fills it, and a status that tells how far it is."""
