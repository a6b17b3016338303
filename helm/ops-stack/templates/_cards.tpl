{{/* One claim for each card, shared by all pods that are placed on it (Dynamic Resource Allocation, Kubernetes 1.34). */}}
{{- define "ops-stack.card-claims" -}}
{{- $root := . -}}
{{- $gpu := .Values.gpu -}}
{{- range $index, $size := $gpu.cardsGB }}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata:
  name: {{ $root.Release.Name }}-card-{{ $index }}
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
spec:
  devices:
    requests:
      - name: card
        exactly:
          deviceClassName: {{ $gpu.deviceClass | default "gpu.nvidia.com" }}
          selectors:
            - cel:
                expression: device.capacity["{{ $gpu.driver | default "gpu.nvidia.com" }}"].memory.compareTo(quantity("{{ $size }}G")) >= 0
    {{- with $gpu.claimConfig }}
    config:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Nodes with cards, made when pods wait for one (Karpenter v1). */}}
{{- define "ops-stack.karpenter" -}}
{{- $k := .Values.karpenter -}}
apiVersion: karpenter.sh/v1
kind: NodePool
metadata:
  name: {{ .Release.Name }}-gpu
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
spec:
  template:
    metadata:
      labels:
        {{- toYaml (merge (dict "ops-pipelines.io/stack" .Chart.Name) (.Values.gpu.nodeSelector | default dict)) | nindent 8 }}
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: {{ .Release.Name }}-gpu}
      taints: [{key: nvidia.com/gpu, effect: NoSchedule}]
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: {{ toJson $k.capacityTypes }}}
        - {key: kubernetes.io/arch, operator: In, values: [amd64]}
        - {key: node.kubernetes.io/instance-type, operator: In, values: {{ toJson $k.instanceTypes }}}
  limits:
    {{- toYaml $k.limits | nindent 4 }}
  disruption: {consolidationPolicy: WhenEmpty, consolidateAfter: {{ $k.emptyFor }}}
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata:
  name: {{ .Release.Name }}-gpu
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
spec:
  # Its accelerated image has the driver and the container toolkit; the device plugin is the cluster's.
  amiSelectorTerms: [{alias: {{ $k.ami | quote }}}]
  role: {{ $k.role }}
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: {{ $k.discovery | quote }}}}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: {{ $k.discovery | quote }}}}]
  metadataOptions: {httpTokens: required, httpPutResponseHopLimit: 1}
  blockDeviceMappings:
    - deviceName: /dev/xvda
      ebs: {volumeSize: {{ $k.disk }}, volumeType: gp3, encrypted: true}
{{- end -}}
