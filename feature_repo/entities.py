"""Who has features."""

from feast import Entity, ValueType

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="who acts")
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="what is acted on")
