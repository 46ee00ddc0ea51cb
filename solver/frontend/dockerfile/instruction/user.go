package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// User sets the user of later steps and of the image.
//
//	USER <user>[:<group>]
type User struct {
	Meta
	User string
}

func parseUser(raw *syntax.Instruction) (Instruction, error) {
	user, err := single(raw, "USER")
	if err != nil {
		return nil, err
	}
	return &User{Meta: meta(raw), User: user}, nil
}

// Expand implements Expandable.
func (u *User) Expand(x Expander) (Instruction, error) {
	out := *u
	if err := expandInto(x, &out.User); err != nil {
		return nil, err
	}
	return &out, nil
}
