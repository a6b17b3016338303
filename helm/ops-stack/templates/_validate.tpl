{{/* What the schema cannot say: combinations that would come up and not work. All of them are told at once. */}}
{{- define "ops-stack.validate" -}}
{{- $root := .root -}}
{{- $components := .components -}}
{{- $found := list -}}
{{- range $name, $c := $components -}}
{{- $here := dict "root" $root "name" $name "c" $c -}}
{{- range list "image" "scaling" "volumes" "links" "cards" -}}
{{- $found = concat $found (include (printf "ops-stack.validate-%s" .) (merge (dict "components" $components) $here) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- $found = concat $found (include "ops-stack.validate-release" . | fromJsonArray) -}}
{{- if $found -}}
{{- fail (printf "\n\n%s cannot be installed like this:\n\n- %s\n" $root.Chart.Name (join "\n- " $found)) -}}
{{- end -}}
{{- end -}}

{{- define "ops-stack.validate-image" -}}
{{- $found := list -}}
{{- $image := .c.image -}}
{{- if not $image.repository -}}
{{- $found = append $found (printf "components.%s.image.repository is not set: there is nothing to run; name an image" .name) -}}
{{- else if and (not $image.digest) (or (not $image.tag) (regexMatch "^(latest|main|master|edge|nightly|stable)$|-latest$" ($image.tag | toString))) -}}
{{- $found = append $found (printf "components.%s.image.tag is %q: it moves, so a roll back would start something else; name a version, or set image.digest" .name ($image.tag | default "" | toString)) -}}
{{- end -}}
{{- if and (eq .root.Values.podSecurity "restricted") (not .c.user) -}}
{{- $found = append $found (printf "components.%s has no `user`, and podSecurity is restricted: its pods are refused, as its image runs as root; set components.%s.user.uid where the image allows it, or podSecurity: baseline" .name .name) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.validate-scaling" -}}
{{- $found := list -}}
{{- $scaling := .c.scaling -}}
{{- $by := $scaling.by | default "none" -}}
{{- $onCard := include "ops-stack.on-card" . -}}
{{- if ne $by "none" -}}
{{- if not (kindIs "invalid" .c.replicas) -}}
{{- $found = append $found (printf "components.%s has replicas: %v and scaling.by: %s: each upgrade would undo what the scaler has set; set replicas: null, or scaling.by: none" .name .c.replicas $by) -}}
{{- end -}}
{{- if or (kindIs "invalid" $scaling.minimum) (kindIs "invalid" $scaling.maximum) -}}
{{- $found = append $found (printf "components.%s.scaling has no minimum or no maximum: set both" .name) -}}
{{- else if gt ($scaling.minimum | int) ($scaling.maximum | int) -}}
{{- $found = append $found (printf "components.%s.scaling: minimum %v is more than maximum %v" .name $scaling.minimum $scaling.maximum) -}}
{{- end -}}
{{- end -}}
{{- $operator := include "ops-stack.by-operator" . -}}
{{- if and (eq $by "ray") (not (and $operator (eq .c.ray.role "worker"))) -}}
{{- $found = append $found (printf "components.%s.scaling.by is ray, whose autoscaler tells KubeRay's operator how many workers there are; set ray.operator: true, or scaling.by: hpa" .name) -}}
{{- end -}}
{{- if and $operator (not (has $by (list "none" "ray"))) -}}
{{- $found = append $found (printf "components.%s.scaling.by is %s, and the operator's RayCluster owns the number of its workers; set scaling.by: ray, or ray.operator: false" .name $by) -}}
{{- end -}}
{{- if and (eq (.c.ray.role | default "") "head") (ne (include "ops-stack.most" . | int) 1) -}}
{{- $found = append $found (printf "components.%s is the head of a Ray cluster, and there are to be %s of it: each would be a cluster of its own; set replicas: 1" .name (include "ops-stack.most" .)) -}}
{{- end -}}
{{- if and $operator (eq .c.kind "StatefulSet") -}}
{{- $found = append $found (printf "components.%s is a StatefulSet, and part of the operator's RayCluster, which gives no pod a volume of its own; use claims" .name) -}}
{{- end -}}
{{- if and (eq $by "hpa") (not (or $scaling.cpu $scaling.memory $scaling.pods)) -}}
{{- $found = append $found (printf "components.%s.scaling.by is hpa, and there is nothing to scale by; set scaling.cpu, memory or pods" .name) -}}
{{- end -}}
{{- if and (eq $by "hpa") $scaling.queries -}}
{{- $found = append $found (printf "components.%s.scaling has queries, which are KEDA's, and scaling.by is hpa: one scaler owns the replicas; set scaling.by: keda, or queries: null" .name) -}}
{{- end -}}
{{- if and (eq $by "keda") $scaling.pods -}}
{{- $found = append $found (printf "components.%s.scaling has pods, which are the HPA's, and scaling.by is keda: one scaler owns the replicas; set scaling.by: hpa, or pods: null" .name) -}}
{{- end -}}
{{- if and (eq $by "keda") (not $scaling.queries) (not $scaling.cpu) (not $scaling.memory) -}}
{{- $found = append $found (printf "components.%s.scaling.by is keda, and there is nothing to scale by; set scaling.queries, cpu or memory" .name) -}}
{{- end -}}
{{- if and $scaling.queries (eq $by "keda") (not .root.Values.monitoring.prometheus) -}}
{{- $found = append $found (printf "components.%s.scaling.queries are asked of Prometheus, and monitoring.prometheus is not set; set its address" .name) -}}
{{- end -}}
{{- if and (or $scaling.cpu $scaling.memory) (ne $by "none") -}}
{{- range list "cpu" "memory" -}}
{{- if and (index $scaling .) (not (dig "requests" . "" $.c.resources)) -}}
{{- $found = append $found (printf "components.%s is scaled by %s, and resources.requests.%s is not set: there is nothing to measure by; set it" $.name . .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (kindIs "map" .c.recommend) $onCard -}}
{{- $found = append $found (printf "components.%s is on a card, and `recommend` asks for a VerticalPodAutoscaler: it knows no cards, and what it measures is a model being loaded; leave `recommend` out" .name) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.validate-volumes" -}}
{{- $found := list -}}
{{- $most := include "ops-stack.most" . | int -}}
{{- if and (ne .c.kind "StatefulSet") (gt $most 1) (include "ops-stack.alone" .) -}}
{{- $found = append $found (printf "components.%s has up to %d replicas and a volume that one node mounts (ReadWriteOnce): the others would wait for ever; use kind: StatefulSet (a volume each), or accessModes: [ReadWriteMany] of a class that has it" .name $most) -}}
{{- end -}}
{{- if and .c.color (eq .c.kind "StatefulSet") -}}
{{- $found = append $found (printf "components.%s has a color and is a StatefulSet: the other color would not have its data; colors are for Deployments" .name) -}}
{{- end -}}
{{- range $volume, $spec := .c.volumes -}}
{{- if and $spec.claim (not (hasKey ($.root.Values.claims | default dict) $spec.claim)) -}}
{{- $found = append $found (printf "components.%s.volumes.%s is the claim %s, which is not under `claims`" $.name $volume $spec.claim) -}}
{{- else if not (or $spec.claim $spec.existingClaim $spec.size) -}}
{{- $found = append $found (printf "components.%s.volumes.%s has no size; set it, or name a claim" $.name $volume) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.validate-links" -}}
{{- $found := list -}}
{{- range $key := list "connects" "after" -}}
{{- range index $.c $key -}}
{{- if not (hasKey $.components .) -}}
{{- $found = append $found (printf "components.%s.%s names %s, which is %s: it would wait for it for ever; switch it on, or leave it out" $.name $key . (ternary "switched off" "no component" (hasKey $.root.Values.components .))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range concat (values .c.secrets) (values (.c.fetch.secrets | default dict)) .c.secretFiles | uniq -}}
{{- if not (hasKey $.root.Values.secrets.keys .) -}}
{{- $found = append $found (printf "components.%s uses the secret %s, which is not under secrets.keys" $.name .) -}}
{{- end -}}
{{- end -}}
{{- if and .c.metrics.port (not (hasKey .c.ports .c.metrics.port)) -}}
{{- $found = append $found (printf "components.%s.metrics.port is %s, which is none of its ports" .name .c.metrics.port) -}}
{{- end -}}
{{- if and .c.health.port (not (hasKey .c.ports .c.health.port)) -}}
{{- $found = append $found (printf "components.%s.health.port is %s, which is none of its ports" .name .c.health.port) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.validate-cards" -}}
{{- $found := list -}}
{{- $gpu := .root.Values.gpu -}}
{{- $card := .c.gpu.card -}}
{{- $placed := not (kindIs "invalid" $card) -}}
{{- if and (include "ops-stack.on-card" .) (eq $gpu.vendor "none") -}}
{{- $found = append $found (printf "components.%s is to have a card, and gpu.vendor is none; use a value file of your hardware (values-nvidia.yaml), or set gpu.vendor" .name) -}}
{{- end -}}
{{- if and $placed (eq $gpu.placement "whole") -}}
{{- $found = append $found (printf "components.%s is placed on card %v, and gpu.placement is whole, where the device plugin chooses the card; set gpu.placement: device or claim, or leave card out" .name $card) -}}
{{- end -}}
{{- if and $placed .c.gpu.count (ne $gpu.placement "whole") -}}
{{- $found = append $found (printf "components.%s is placed on card %v and asks for %v whole cards: the device plugin would choose others; leave count out" .name $card .c.gpu.count) -}}
{{- end -}}
{{- if and .c.gpu.resource $placed -}}
{{- $found = append $found (printf "components.%s is placed on card %v and asks for %s, which the device plugin chooses; leave one of them out" .name $card .c.gpu.resource) -}}
{{- end -}}
{{- if and $placed (not .c.gpu.memoryGB) (not .c.gpu.share) -}}
{{- $found = append $found (printf "components.%s is placed on card %v, and nobody says how much of it it takes; set gpu.memoryGB, or gpu.share" .name $card) -}}
{{- end -}}
{{- if and $placed (ge ($card | int) (len ($gpu.cardsGB | default list))) -}}
{{- $found = append $found (printf "components.%s is placed on card %v, and gpu.cardsGB declares %d" .name $card (len ($gpu.cardsGB | default list))) -}}
{{- end -}}
{{- if and .c.gpu.share (not (include "ops-stack.on-card" .)) -}}
{{- $found = append $found (printf "components.%s takes a share of a card, and is on none; set gpu.count or gpu.card" .name) -}}
{{- end -}}
{{- if and .c.gpu.share (not $placed) (gt (.c.gpu.share | float64) ($gpu.atMost | float64)) -}}
{{- $found = append $found (printf "components.%s takes %v of its card, and gpu.atMost is %v; lower the one or raise the other" .name .c.gpu.share $gpu.atMost) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.validate-release" -}}
{{- $root := .root -}}
{{- $components := .components -}}
{{- $found := list -}}
{{- $values := $root.Values -}}
{{- $gpu := $values.gpu -}}
{{- if eq $gpu.placement "sliced" -}}
{{- $found = append $found "gpu.placement is sliced: time slicing hands out shares of whichever card has one left, and keeps nobody to a share of memory, so two large models may meet on one card; set gpu.placement: device (ids), claim (DRA) or mig" -}}
{{- end -}}
{{- if and (eq $gpu.placement "device") (ne $gpu.vendor "nvidia") (ne $gpu.vendor "none") -}}
{{- $found = append $found (printf "gpu.placement is device, which is NVIDIA's container runtime's (NVIDIA_VISIBLE_DEVICES), and gpu.vendor is %s; set gpu.placement: claim or whole" $gpu.vendor) -}}
{{- end -}}
{{- if and (eq $gpu.placement "device") (not $gpu.nodeSelector) -}}
{{- $found = append $found "gpu.placement is device, and gpu.nodeSelector is empty: card 0 of which node? give the one node that has the cards a label, and set it" -}}
{{- end -}}
{{- range $index, $size := $gpu.cardsGB -}}
{{- $taken := 0 -}}
{{- $on := list -}}
{{- $shares := 0.0 -}}
{{- $shared := list -}}
{{- range $name, $c := $components -}}
{{- if and (not (kindIs "invalid" $c.gpu.card)) (eq (toString $c.gpu.card) (toString $index)) -}}
{{- $most := include "ops-stack.most" (dict "c" $c) | int -}}
{{- $takes := include "ops-stack.card-memory" (dict "root" $root "c" $c) | int -}}
{{- $taken = add $taken (mul $most $takes) -}}
{{- $on = append $on (printf "%s %d x %v" $name $most $takes) -}}
{{- if $c.gpu.share -}}
{{- $shares = addf $shares (mulf $most $c.gpu.share) -}}
{{- $shared = append $shared (printf "%s %d x %v" $name $most $c.gpu.share) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt ($taken | int) ($size | int) -}}
{{- $found = append $found (printf "card %d has %v GB, and %v are asked of it (%s): the last model to load would drive another out; take a replica away, lower gpu.memoryGB, or place one on another card" $index $size $taken (join ", " $on)) -}}
{{- end -}}
{{- if gt (round $shares 3) (round ($gpu.atMost | float64) 3) -}}
{{- $found = append $found (printf "card %d: servers take %v of it together (%s), and gpu.atMost is %v: the last to start would find no room; lower a gpu.share, or place one on another card" $index (round $shares 3) (join ", " $shared) $gpu.atMost) -}}
{{- end -}}
{{- end -}}
{{- with $values.ingress -}}
{{- if .enabled -}}
{{- if not (hasKey $components (.component | default "")) -}}
{{- $found = append $found (printf "ingress.component is %q, which is not switched on" (.component | default "")) -}}
{{- end -}}
{{- if not .hosts -}}
{{- $found = append $found "ingress.hosts is empty: it would answer for every name; name the hosts" -}}
{{- end -}}
{{- if not (or .tlsSecret .plain) -}}
{{- $found = append $found "ingress.tlsSecret is not set: keys would go over the network in clear; set it, or ingress.plain: true where TLS ends elsewhere" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $values.secrets -}}
{{- if and .keys (not .existingSecret) -}}
{{- $found = append $found "secrets.existingSecret is not set: name the Secret that holds them" -}}
{{- end -}}
{{- if and .external.enabled (not .external.store) -}}
{{- $found = append $found "secrets.external.enabled, and no secrets.external.store: name the SecretStore" -}}
{{- end -}}
{{- end -}}
{{- with $values.karpenter -}}
{{- if and .enabled (or (not .role) (not .discovery)) -}}
{{- $found = append $found "karpenter.enabled, and no karpenter.role or karpenter.discovery: no node could join; set the nodes' IAM role and the value of the tag karpenter.sh/discovery" -}}
{{- end -}}
{{- if and .enabled (ne $gpu.vendor "nvidia") -}}
{{- $found = append $found (printf "karpenter.enabled makes nodes with NVIDIA cards, and gpu.vendor is %s" $gpu.vendor) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
