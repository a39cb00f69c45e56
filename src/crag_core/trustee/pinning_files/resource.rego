package policy

import rego.v1

default allow := false

path := data["resource-path"]

segments := path if is_array(path)

segments := array.slice(parts, count(parts) - 3, count(parts)) if {
	is_string(path)
	parts := split(path, "/")
	named(parts)
}

# With the forks' prefix, or as their own tests have it.
named(parts) if count(parts) == 3

named(parts) if {
	count(parts) == 4
	parts[0] in {"", "resource"}
}

# Upstream has other plugins beside the one for resources, with paths of their own.
elsewhere if data.plugin != "resource"

allow if {
	concat("/", segments) in resources
	not elsewhere
	affirmed
	measured
}

cpu := input.submods.cpu0

cpu := input.submods.cpu if not input.submods.cpu0

# EAR: every device is affirmed, and there are the GPUs that are wanted.
affirmed if {
	cpu["ear.appraisal-policy-id"] == "default"
	every submod in input.submods {
		submod["ear.status"] == "affirming"
	}
	count([name | some name, _ in input.submods; startswith(name, "gpu")]) >= gpus_wanted
}

# Tokens without an EAR are made for affirmed evidence only; they say nothing of GPUs.
affirmed if {
	not input.submods
	gpus_wanted == 0
	some report in input["evaluation-reports"]
	report["policy-id"] == "default"
}

evidence := cpu["ear.veraison.annotated-evidence"]

evidence := json.unmarshal(input["tcb-status"]) if not input.submods
