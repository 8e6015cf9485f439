"""The operations as tools of agents (Model Context Protocol): `tools` says which, `serving` how they are reached."""
