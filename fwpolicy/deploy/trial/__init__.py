"""A policy's tests as real packets on a throw-away host: `run` asks, `trial` sends, `watch` sees."""
