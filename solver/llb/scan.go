package llb

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scanDepth bounds nested messages in one operation. The deepest legal one is
// a BuildOp with an inline definition that has inline definitions as sources.
const scanDepth = 64

var (
	errTooManyElements = errors.New("too many elements")
	errTooDeep         = errors.New("messages are nested too deeply")
)

// scan counts the elements that decoding data as a message of type desc would
// make, without making them, and takes them from the budget. It stops hostile
// input whose decoded form is many times its size.
func scan(data []byte, desc protoreflect.MessageDescriptor, depth int, budget *int) error {
	if depth > scanDepth {
		return errTooDeep
	}
	for len(data) > 0 {
		number, wireType, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		value := data[n:]
		m := protowire.ConsumeFieldValue(number, wireType, value)
		if m < 0 {
			return protowire.ParseError(m)
		}
		data = value[m:]
		if *budget--; *budget < 0 {
			return errTooManyElements
		}
		field := desc.Fields().ByNumber(number)
		if field == nil || field.Message() == nil || wireType != protowire.BytesType {
			continue
		}
		nested, _ := protowire.ConsumeBytes(value)
		if err := scan(nested, field.Message(), depth+1, budget); err != nil {
			return err
		}
	}
	return nil
}
