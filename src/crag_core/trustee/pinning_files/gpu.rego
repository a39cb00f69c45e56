package policy

import rego.v1

# What a GPU must show at a Trustee that verifies GPUs: crag's, or upstream's with NVIDIA's remote
# service.
default executables := 33

default hardware := 97

default configuration := 36

gpu := input.nvidia

signed if {
	gpu["x-nvidia-gpu-attestation-report-parsed"] == true
	gpu["x-nvidia-gpu-attestation-report-signature-verified"] == true
	gpu["x-nvidia-gpu-attestation-report-nonce-match"] == true
	gpu["x-nvidia-gpu-attestation-report-cert-chain-fwid-match"] == true
	gpu["x-nvidia-gpu-attestation-report-cert-chain"]["x-nvidia-cert-status"] == "valid"
}

hardware := 2 if signed

# Confidential mode without developer tools: crag's verifier has refused everything else.
configuration := 2 if gpu.genuine == true

configuration := 2 if {
	gpu.secboot == true
	gpu.dbgstat == "disabled"
}

executables := 3 if {
	signed
	gpu.measres == "success"
}

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
}
