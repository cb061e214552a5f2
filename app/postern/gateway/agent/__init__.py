"""The gateway's agent: the program beside the private systems. It connects out to Postern, and opens there only what
its own file allows. It loads neither Starlette nor SQLAlchemy."""
