"""The gateway host's side of NVMe-oF high availability: warden, agent, configuration API and its command line client."""
