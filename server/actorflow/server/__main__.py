"""`python -m actorflow.server` is the command `actorflow`."""

from actorflow.server.cli import main

if __name__ == "__main__":
    main()
