package listen

import (
	"fmt"
	"os/user"
	"strconv"
)

// GroupID finds a group by number or name.
func GroupID(group string) (int, error) {
	if id, err := strconv.Atoi(group); err == nil {
		return id, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find group for sockets: %w", err)
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("group %s has id %q: %w", group, g.Gid, err)
	}
	return id, nil
}
