"""The command-line client `nvmeof-gw`; it needs gw_agent only for the generated messages."""
