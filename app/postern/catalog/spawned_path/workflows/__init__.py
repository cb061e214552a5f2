"""The package `workflows` of a spawned process: the modules of the server's folder take its place."""

from postern.catalog.spawned import take_over

take_over()
