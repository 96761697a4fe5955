"""Who answers for a feature: whom to ask before it is changed."""

PLATFORM = "platform"
"""The team that runs this platform. Give a view of your own its owner's address in its declaration."""
