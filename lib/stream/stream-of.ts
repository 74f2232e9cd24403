import type { CloseReason } from '../core/close-reasons.js'

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

/** Why streams must end that are not open yet, by their response. */
const endings = new WeakMap<object, CloseReason>()

/** Ends the stream of a response: the one that is open, or whichever is opened on it later, as soon as it is. */
export function endStreamOf(res: object, reason: CloseReason): void {
  const stream = streams.get(res)
  if (stream === undefined) endings.set(res, reason)
  else void stream.close(reason)
}

/** Why a stream must end that is about to be opened on a response; `undefined`: it may be open. */
export function endingOf(res: object): CloseReason | undefined {
  return endings.get(res)
}
