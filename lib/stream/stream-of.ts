import type { CloseReason } from '../core/close-reasons.js'

/** The part of a stream that code needs which has only the response. */
export interface StreamOnResponse {
  readonly id: string
  /** `undefined` while the stream is open. */
  readonly closeReason: CloseReason | undefined
  close(reason?: CloseReason): Promise<void>
}

/**
 * A map instead of a property of the response: with Express each response has its own hidden class, so V8 would make
 * another one, of 2 KB, for every property that is added (bench `join`).
 */
const streams = new WeakMap<object, StreamOnResponse>()

/** Returns the stream that was opened on a response. */
export function streamOf(res: object): StreamOnResponse | undefined {
  return streams.get(res)
}

export function setStreamOf(res: object, stream: StreamOnResponse): void {
  streams.set(res, stream)
}

/** By response: the reasons for which streams that are not open yet must close. */
const pendingReasons = new WeakMap<object, CloseReason>()

/** Closes the stream of a response: the open one, or the one that is opened later, immediately after it opens. */
export function closeStreamOf(res: object, reason: CloseReason): void {
  const stream = streams.get(res)
  if (stream === undefined) pendingReasons.set(res, reason)
  else void stream.close(reason)
}

/** Returns the reason for which a stream that opens now on this response must close; `undefined`: it may stay open. */
export function pendingCloseReason(res: object): CloseReason | undefined {
  return pendingReasons.get(res)
}
