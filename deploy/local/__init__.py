"""The launcher behind `make run`: a real Kafka, a real Valkey and the services on one machine, kept alive by a supervisor.

Everything that it writes lies under `.rollcall/` in the project's folder. It knows the services by their command lines and
environment only, and imports none of them.
"""
