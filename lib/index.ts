/**
 * `express-sse-kit`. The path of an event, and the folder that owns each step:
 *
 *   publish ─► encode once ─► broker (log + pub/sub) ─► multiplexer (one Redis connection, channel → streams)
 *    wire          wire           broker                    multiplexer
 *      ─► reader: position + credit ─► stream ─► socket
 *                 └─ lagging: channel tail ─► broker history ─► live again
 *
 * Imports point one way: core ← wire ← {broker, store, auth, limits, observe} ← stream ← multiplexer ← routers ← here.
 *
 * @packageDocumentation
 */

export type { ClaimSource } from './auth/claims.js'
export type { AuthenticateOptions } from './auth/options.js'
export {
  createRevocations,
  type Revocation,
  type RevocationSelector,
  type Revocations,
  type RevocationsOptions,
} from './auth/revocations.js'
export type { Resolve, Session } from './auth/sessions.js'
export { redactUrl } from './auth/url-secrets.js'
export type { JwtAlgorithm, JwtHeader, VerifyKey } from './auth/verify.js'
export type { BrokerState, PublishOptions } from './broker/broker.js'
export type { HistoryOptions, RedisLogOptions, Retention } from './broker/options.js'
export type { Auth } from './core/auth.js'
export { channel } from './core/channel-name.js'
export type { Clock } from './core/clock.js'
export { CLOSE_REASONS, type CloseReason } from './core/close-reasons.js'
export { diagnostics as diagnosticsChannels, diagnosticsNames as diagnostics } from './core/diagnostics.js'
export {
  BrokerError,
  ERROR_CODES,
  type ErrorCode,
  forbidden,
  InvalidEventError,
  InvalidOptionError,
  notFound,
  RequestError,
  SseError,
  unauthorized,
} from './core/errors.js'
export type { Priority, SendResult, SseEvent } from './core/message.js'
export type { Position } from './core/position.js'
export type { Tracing } from './core/tracing.js'
export type { AnyRequest, AnyResponse } from './http/exchange.js'
export type { StreamRequest } from './http/requester.js'
export { type ClosableServer, type ShutdownOptions, shutdown } from './http/shutdown.js'
export {
  createPacing,
  PACING_PRESETS,
  type Pacing,
  type PacingPreset,
  type PacingRates,
  type PacingScope,
} from './limits/pacing/pacing.js'
export type { RateLimitOptions, RequestLimit } from './limits/requests/options.js'
export type { StreamLimitsOptions } from './limits/streams/options.js'
export type { StreamScope } from './limits/streams/quotas.js'
export {
  createStreamLimits,
  type StreamLimits,
} from './limits/streams/stream-limits.js'
export type { Rate } from './limits/token-bucket.js'
export { createMultiplexer, type Multiplexer } from './multiplexer/multiplexer.js'
export type { ChannelStreamStatus } from './multiplexer/open-streams.js'
export type {
  ChannelRequest,
  ChannelsOf,
  MultiplexerOptions,
  MultiplexerStatus,
  PollOptions,
  ReadOptions,
  StreamHandler,
} from './multiplexer/options.js'
export { type DropLine, type DropLogOptions, logDrops } from './observe/drop-log.js'
export { type ErrorLine, type ErrorLogOptions, logErrors } from './observe/error-log.js'
export type { ErrorDetails } from './observe/log-lines.js'
export { createMetrics, type Metrics, type MetricsOptions } from './observe/metrics.js'
export type { MetricsRegister } from './observe/register.js'
export {
  createTracing,
  type OpenTelemetryApi,
  type OpenTelemetrySpan,
  type OpenTelemetrySpanContext,
  type OpenTelemetrySpanOptions,
  type OpenTelemetryTracer,
  type TracingOptions,
} from './observe/tracing.js'
export { createRedis } from './redis/create.js'
export type { RedisSource, SharedRedis } from './redis/source.js'
export { authenticate, requireAuth } from './routers/authenticate.js'
export {
  type ConversationStreamsOptions,
  conversationStreams,
  conversationsChannel,
  messagesChannel,
} from './routers/conversations.js'
export {
  type DashboardData,
  type DashboardOptions,
  type DashboardRouter,
  dashboardInit,
} from './routers/dashboard.js'
export { type SseErrorsOptions, sseErrors } from './routers/errors.js'
export { limitStreams } from './routers/limit-streams.js'
export { type MetricsRouterOptions, metrics } from './routers/metrics.js'
export { type RateLimitHandler, rateLimit } from './routers/rate-limit.js'
export { type SseMiddleware, sseMiddleware } from './routers/sse-middleware.js'
export { type TicketsOptions, tickets } from './routers/tickets.js'
export type { InboundMessage, InboundStatus, InboundUnknown, Provider } from './routers/webhooks/message.js'
export type { WebhooksOptions } from './routers/webhooks/options.js'
export { type WebhooksRouter, webhooks } from './routers/webhooks/webhooks.js'
export { createStore, type StoreOptions } from './store/create.js'
export type { KeyValueStore } from './store/store.js'
export { QUEUE_POLICIES, type QueuePolicy } from './stream/bounded-queue.js'
export type { EventStream, StreamStatus } from './stream/event-stream.js'
export type { ReadableEvents, SendAllOptions, SendAllResult, SendAllSource } from './stream/feed.js'
export { openStream } from './stream/open-stream.js'
export type { StreamOptions } from './stream/options.js'
export { createPressure, type Pressure, type PressureLevel, type PressureOptions } from './stream/pressure.js'
export type { PollAnswer, PolledEvent } from './wire/contract.js'
