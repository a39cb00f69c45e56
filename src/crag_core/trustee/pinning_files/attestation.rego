package policy

import rego.v1

# Trust claims as the forks read them, each by itself; undefined claims are failures, so each has a
# default. 2..31 affirm (EAR trustworthiness tiers).
default executables := 33

default hardware := 97

default configuration := 36

default file_system := 35

hardware := 2 if {
	some pins in measurements
	genuine(pins)
}

# Of one measurement as a whole: the software of one doesn't go with the configuration of another.
executables := 3 if measured

configuration := 2 if {
	some pins in measurements
	configured(pins)
	logged(pins, "configuration")
}

file_system := 2 if {
	some pins in measurements
	logged(pins, "model")
}

# The same as upstream reads them.
trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"file-system": file_system,
}

# And for tokens without an EAR.
default allow := false

allow if measured

evidence := input
