import type { CloseReason } from './close-reasons.js'

/** As much of a stream as whoever has only its response may need. */
export interface StreamOnResponse {
  readonly id: string
  /** `undefined` while it is open. */
  readonly closeReason: CloseReason | undefined
  close(reason?: CloseReason): Promise<void>
}

/**
 * Not a property of the response: under Express each response has a shape of its own, so that V8 makes another one, 2 KB, for every
 * property that is added (bench `join`).
 */
const streams = new WeakMap<object, StreamOnResponse>()

/** The stream that was opened on a response. */
export function streamOf(res: object): StreamOnResponse | undefined {
  return streams.get(res)
}

export function setStreamOf(res: object, stream: StreamOnResponse): void {
  streams.set(res, stream)
}
