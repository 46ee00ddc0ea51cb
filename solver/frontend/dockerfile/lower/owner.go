package lower

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// owner reads user[:group], each a name or a number.
func owner(text string) *compose.Owner {
	user, group, hasGroup := strings.Cut(text, ":")
	out := &compose.Owner{User: identity(user)}
	if hasGroup {
		out.Group = identity(group)
	}
	return out
}

// identity takes root for number 0, so that images without a password file need
// not have one. Numbers that do not fit are names, and fail where names are
// looked up.
func identity(text string) *compose.Identity {
	if text == "root" {
		return &compose.Identity{}
	}
	if number, err := strconv.ParseInt(text, 10, 32); err == nil && number >= 0 {
		return &compose.Identity{ID: uint32(number)}
	}
	return &compose.Identity{Name: text}
}

// setMode reads --chmod into a copy: an octal number, or changes such as
// u+rwX,go-w.
func setMode(copied *compose.Copy, text string) error {
	if text == "" {
		return nil
	}
	number, err := strconv.ParseUint(text, 8, 32)
	if err == nil && number <= 0o7777 {
		mode := uint32(number)
		copied.Mode = &mode
		return nil
	}
	if err == nil || text[0] >= '0' && text[0] <= '9' {
		return fmt.Errorf("invalid chmod parameter: '%v'. it should be octal string and between 0 and 07777", text)
	}
	if err := checkSymbolicMode(text); err != nil {
		return err
	}
	copied.ModeText = text
	return nil
}

// checkSymbolicMode checks [ugoa]*([-+=]([rwxXst]*|[ugo]))+ , several of them
// separated by commas.
func checkSymbolicMode(text string) error {
	for clause := range strings.SplitSeq(text, ",") {
		rest := strings.TrimLeft(clause, "ugoa")
		if rest == "" {
			return fmt.Errorf("invalid chmod parameter: '%v'. %q changes nothing", text, clause)
		}
		for rest != "" {
			if !strings.ContainsRune("+-=", rune(rest[0])) {
				return fmt.Errorf("invalid chmod parameter: '%v'. unexpected %q", text, rest)
			}
			after := strings.TrimLeft(rest[1:], "rwxXst")
			if len(after) == len(rest)-1 {
				after = strings.TrimLeft(after, "ugo")
			}
			rest = after
		}
	}
	return nil
}
