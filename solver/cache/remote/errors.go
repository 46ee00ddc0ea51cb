package remote

import "errors"

// errEnough ends a walk that found what it was for.
var errEnough = errors.New("enough")
