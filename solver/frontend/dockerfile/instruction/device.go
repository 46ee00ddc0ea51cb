package instruction

import (
	"fmt"
	"strconv"
	"strings"

	csvvalue "github.com/tonistiigi/go-csvvalue"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
)

// Device is a device that RUN --device asks for.
type Device struct {
	Name string
	// Required makes the step fail without the device.
	Required bool
}

// parseDevice reads `name[,required]`. The name may contain an equals sign, as
// CDI names do, and may be said with its key.
func parseDevice(text string) (*Device, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to parse csv devices: %w", err)
	}
	device := &Device{}
	for _, field := range fields {
		if err := device.set(field); err != nil {
			return nil, err
		}
	}
	return device, nil
}

// set reads one field. The first one without a known key is the name.
func (d *Device) set(field string) (err error) {
	key, value, hasValue := strings.Cut(field, "=")
	key = strings.ToLower(key)
	switch {
	case key == "required" && !hasValue:
		d.Required = true
	case key == "required":
		if d.Required, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
	case key == "name" && hasValue:
		if d.Name != "" {
			return fmt.Errorf("device name already set to %s", d.Name)
		}
		d.Name = value
	case d.Name == "":
		d.Name = field
	case !hasValue:
		return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
	default:
		return suggest.Error(fmt.Errorf("unexpected key '%s' in '%s'", key, field), key, []string{"name", "required"})
	}
	return nil
}
