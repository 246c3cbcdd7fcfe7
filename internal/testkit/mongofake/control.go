package mongofake

import (
	"time"
)

// control is the command by which a test scripts a fake in another process, in
// the database admin:
//
//	{mongofake: "on", point: "insert", nth: 1, fault: "loseReply"}
//	{mongofake: "off", point: "insert"}
//	{mongofake: "forgetOplog"}, "forgetImages", "forgetSnapshots", "disconnect"
//
// Faults are refuse (with code, name and message), notPrimary, refuseLogin, cut,
// loseReply, loseCursor and slow (with ms).
func (f *Fake) control(r *request, w *builder) error {
	f.mu.Unlock() // what follows takes it by itself
	defer f.mu.Lock()
	name := text(r.field("point"))
	switch what := text(r.arg); what {
	case "on":
		nth := max(1, int(number(r.field("nth"))))
		fault, err := faultOf(r)
		if err != nil {
			return err
		}
		if err := f.faults.on(name, nth, fault); err != nil {
			return badValue(err.Error())
		}
		return nil
	case "off":
		f.Off(name)
		return nil
	case "fired":
		w.any("fired", append([]string{}, f.Fired()...))
		return nil
	case "forgetOplog":
		return f.ForgetOplog()
	case "forgetImages":
		f.ForgetImages()
		return nil
	case "forgetSnapshots":
		return f.ForgetSnapshots()
	case "disconnect":
		f.Disconnect()
		return nil
	default:
		return badValue("the stand-in does not know what to do for " + what)
	}
}

func faultOf(r *request) (Fault, error) {
	switch kind := text(r.field("fault")); kind {
	case "refuse":
		return Refuse(int(number(r.field("code"))), text(r.field("name")), text(r.field("message"))), nil
	case "notPrimary":
		return NotPrimary(), nil
	case "refuseLogin":
		return RefuseLogin(), nil
	case "cut":
		return Cut(), nil
	case "loseReply":
		return LoseReply(), nil
	case "loseCursor":
		return LoseCursor(), nil
	case "slow":
		return Slow(time.Duration(number(r.field("ms"))) * time.Millisecond), nil
	default:
		return Fault{}, badValue("the stand-in does not know the fault " + kind)
	}
}
