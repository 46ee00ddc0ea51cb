package pb

import "encoding/json"

// The JSON forms below are what clients print and what provenance records:
// encoding/json of the plain structs, but for the three messages with a oneof.
// There the set alternative stands, under its field name, in an object named
// after the oneof; the object is empty when nothing is set.

// MarshalJSON writes the operation with its alternative in "Op".
func (m *Op) MarshalJSON() ([]byte, error) {
	alternative := map[string]any{}
	switch op := m.GetOp().(type) {
	case *Op_Exec:
		alternative["exec"] = op.Exec
	case *Op_Source:
		alternative["source"] = op.Source
	case *Op_File:
		alternative["file"] = op.File
	case *Op_Build:
		alternative["build"] = op.Build
	case *Op_Merge:
		alternative["merge"] = op.Merge
	case *Op_Diff:
		alternative["diff"] = op.Diff
	case *Op_Passthrough:
		alternative["passthrough"] = op.Passthrough
	}
	return json.Marshal(struct {
		Inputs      []*Input `json:"inputs,omitempty"`
		Op          map[string]any
		Platform    *Platform          `json:"platform,omitempty"`
		Constraints *WorkerConstraints `json:"constraints,omitempty"`
	}{m.GetInputs(), alternative, m.GetPlatform(), m.GetConstraints()})
}

// MarshalJSON writes the action with its alternative in "Action". The three
// indexes are always there: 0 is as good an index as any.
func (m *FileAction) MarshalJSON() ([]byte, error) {
	alternative := map[string]any{}
	switch action := m.GetAction().(type) {
	case *FileAction_Copy:
		alternative["copy"] = action.Copy
	case *FileAction_Mkfile:
		alternative["mkfile"] = action.Mkfile
	case *FileAction_Mkdir:
		alternative["mkdir"] = action.Mkdir
	case *FileAction_Rm:
		alternative["rm"] = action.Rm
	case *FileAction_Symlink:
		// Readers that do not know it skip it.
		alternative["symlink"] = action.Symlink
	}
	return json.Marshal(struct {
		Input          int64 `json:"input"`
		SecondaryInput int64 `json:"secondaryInput"`
		Output         int64 `json:"output"`
		Action         map[string]any
	}{m.GetInput(), m.GetSecondaryInput(), m.GetOutput(), alternative})
}

// MarshalJSON writes the user with its alternative in "User". The key of the
// number is byId, unlike the field, and the number 0 is left out: both are
// facts of the format.
func (m *UserOpt) MarshalJSON() ([]byte, error) {
	alternative := map[string]any{}
	switch user := m.GetUser().(type) {
	case *UserOpt_ByName:
		alternative["byName"] = user.ByName
	case *UserOpt_ByID:
		if user.ByID != 0 {
			alternative["byId"] = user.ByID
		}
	}
	return json.Marshal(struct {
		User map[string]any
	}{alternative})
}
