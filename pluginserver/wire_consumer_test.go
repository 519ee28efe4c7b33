package pluginserver

import (
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

func TestConsumerAgreesWithTheGeneratedTypes(t *testing.T) {
	t.Parallel()
	var spec kong_plugin_protocol.ConsumerSpec
	require.NoError(t, proto.Unmarshal(appendConsumerSpec(nil, "alice", true), &spec))
	require.Equal(t, "alice", spec.Id)
	require.True(t, spec.ByUsername)

	want := Consumer{ID: "c1", Username: "alice", CustomID: "42"}
	var args kong_plugin_protocol.AuthenticateArgs
	require.NoError(t, proto.Unmarshal(appendAuthenticate(nil, want, "k1"), &args))
	require.Equal(t, "alice", args.Consumer.Username)
	require.Equal(t, "k1", args.Credential.Id)
	require.Equal(t, "c1", args.Credential.ConsumerId)
	args.Reset()
	require.NoError(t, proto.Unmarshal(appendAuthenticate(nil, want, ""), &args))
	require.Nil(t, args.Credential)

	data, err := proto.Marshal(&kong_plugin_protocol.Consumer{Id: "c1", CreatedAt: 7, Username: "alice", CustomId: "42", Tags: []string{"x"}})
	require.NoError(t, err)
	have, err := decodeConsumer(data)
	require.NoError(t, err)
	require.Equal(t, want, have)
	have, err = decodeConsumer(nil)
	require.NoError(t, err)
	require.Empty(t, have.ID, "an unknown consumer is an empty answer")
}
