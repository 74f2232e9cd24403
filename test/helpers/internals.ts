/** The kit's factories, with the members of their objects that only the kit uses. */
import * as revocations from '../../lib/auth/revocations.js'
import * as pacing from '../../lib/limits/pacing/pacing.js'
import * as streamLimits from '../../lib/limits/streams/stream-limits.js'

export type Revocations = revocations.StoreRevocations
export type StreamLimits = streamLimits.StreamLeases

export function createRevocations(options: revocations.RevocationsOptions): Revocations {
  return revocations.revocationsOption(revocations.createRevocations(options))
}

export function createStreamLimits(...options: Parameters<typeof streamLimits.createStreamLimits>): StreamLimits {
  return streamLimits.streamLimitsOption('limits', streamLimits.createStreamLimits(...options))
}

export function createPacing(...options: Parameters<typeof pacing.createPacing>): pacing.PacingBuckets {
  return pacing.pacingOption(pacing.createPacing(...options))
}
