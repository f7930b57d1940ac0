"""From geotagged pictures to a map: described in shards that survive a kill, then put together."""
