# What a GPU must show beside what every verification wants (genuine report and firmware, fresh
# nonce, confidential mode): firmware and driver that are known, by NVIDIA's signed measurements or
# by version.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

hardware := 2 if input.nvidia.genuine == true

configuration := 2 if {
	input.nvidia.genuine == true
	not input.nvidia.mode in {"devtools", "off"}
}

executables := 3 if {
	input.nvidia.rim.vbios == "matched"
	input.nvidia.rim.driver == "matched"
}

executables := 3 if {
	not measured
	input.nvidia.vbios_version in query_reference_value("nvidia.vbios")
	input.nvidia.driver_version in query_reference_value("nvidia.driver")
}

measured if {
	input.nvidia.rim.vbios == "matched"
	input.nvidia.rim.driver == "matched"
}
